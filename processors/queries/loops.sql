-- Runs that made the same call, with the same arguments, three times or more.
SELECT run_id, JSONExtractString(body, 'event', 'name') AS tool, JSONExtractString(body, 'event', 'arguments') AS arguments,
    uniqExact(call_id) AS times, min(at) AS first, max(at) AS last
FROM events
WHERE type = 'tool_call.started' AND verdict = 'accepted' AND at >= '1970-01-01 00:00:00'
GROUP BY run_id, tool, arguments
HAVING times >= 3
ORDER BY times DESC, run_id, tool
LIMIT 100
