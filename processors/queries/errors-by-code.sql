-- Each error code: how often, in how many runs, and how many of those runs still completed.
SELECT s.error_code AS code, count() AS errors, uniqExact(s.run_id) AS runs,
    uniqExactIf(s.run_id, r.status = 'completed') AS completed_anyway, any(s.error_message) AS example
FROM spans AS s INNER JOIN runs AS r ON r.run_id = s.run_id
WHERE s.kind IN ('model_call', 'tool_call') AND s.error_code != '' AND s.started_at >= '1970-01-01 00:00:00'
GROUP BY code
ORDER BY errors DESC, code
