-- Errors of model and tool calls, by hour and code.
SELECT toStartOfHour(started_at) AS hour, kind, error_code, count() AS errors, uniqExact(run_id) AS runs
FROM spans
WHERE kind IN ('model_call', 'tool_call') AND error_code != '' AND started_at >= '1970-01-01 00:00:00'
GROUP BY hour, kind, error_code
ORDER BY hour DESC, errors DESC, kind, error_code
