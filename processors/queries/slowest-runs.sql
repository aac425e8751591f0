-- The runs that took longest.
SELECT run_id, agent, status, round(duration_ms) AS duration_ms, steps, tool_calls, retries
FROM runs
WHERE started_at >= '1970-01-01 00:00:00'
ORDER BY duration_ms DESC, run_id
LIMIT 20
