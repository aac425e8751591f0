-- How long calls of each tool take, milliseconds.
SELECT name AS tool, count() AS calls, round(quantileExact(0.5)(duration_ms), 1) AS p50_ms,
    round(quantileExact(0.95)(duration_ms), 1) AS p95_ms, round(max(duration_ms), 1) AS max_ms,
    round(sum(duration_ms)) AS total_ms
FROM spans
WHERE kind = 'tool_call' AND duration_ms IS NOT NULL AND started_at >= '1970-01-01 00:00:00'
GROUP BY tool
ORDER BY p95_ms DESC, tool
