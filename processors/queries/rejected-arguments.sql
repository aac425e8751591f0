-- Calls that never began: what models got wrong in asking for a tool.
SELECT JSONExtractString(body, 'event', 'name') AS tool, JSONExtractString(body, 'event', 'reason') AS reason,
    count() AS calls, uniqExact(run_id) AS runs, any(JSONExtractString(body, 'event', 'message')) AS example
FROM events
WHERE type = 'tool_call.rejected' AND verdict = 'accepted' AND at >= '1970-01-01 00:00:00'
GROUP BY tool, reason
ORDER BY calls DESC, tool, reason
