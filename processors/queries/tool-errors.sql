-- How often calls of each tool go wrong, and the error that they share.
SELECT name AS tool, count() AS attempts, countIf(status = 'error') AS failed, countIf(status = 'rejected') AS rejected,
    countIf(status = 'uncertain') AS uncertain,
    round(100 * countIf(status IN ('error', 'rejected', 'uncertain')) / count(), 1) AS percent,
    argMaxIf(error_message, started_at, status = 'error') AS latest_error
FROM spans
WHERE kind = 'tool_call' AND started_at >= '1970-01-01 00:00:00'
GROUP BY tool
ORDER BY percent DESC, attempts DESC, tool
