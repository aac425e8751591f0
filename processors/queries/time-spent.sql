-- Where the time of each agent's runs goes: model, tools, waiting; milliseconds, which may overlap.
SELECT r.agent AS agent, uniqExact(s.run_id) AS runs, round(sumIf(ifNull(s.duration_ms, 0), s.kind = 'model_call')) AS model_ms,
    round(sumIf(ifNull(s.duration_ms, 0), s.kind = 'tool_call')) AS tool_ms,
    round(sumIf(ifNull(s.duration_ms, 0), endsWith(s.kind, '_wait'))) AS waiting_ms, round(sumIf(ifNull(s.duration_ms, 0), s.kind = 'run')) AS run_ms
FROM spans AS s INNER JOIN runs AS r ON r.run_id = s.run_id
WHERE s.duration_ms IS NOT NULL AND s.started_at >= '1970-01-01 00:00:00'
GROUP BY agent
ORDER BY run_ms DESC, agent
