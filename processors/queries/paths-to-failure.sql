-- What went wrong on the way in runs that failed, from the first error to the last.
SELECT r.run_id AS run_id, r.agent AS agent, r.error_code AS ended_with,
    arrayStringConcat(arrayMap(step -> step.2, arraySort(groupArray((s.started_seq, concat(s.kind, ' ', s.name, ': ', s.error_code))))), ' > ') AS path
FROM runs AS r INNER JOIN spans AS s ON s.run_id = r.run_id
WHERE r.status = 'failed' AND s.kind IN ('model_call', 'tool_call') AND s.error_code != '' AND r.started_at >= '1970-01-01 00:00:00'
GROUP BY run_id, agent, ended_with
ORDER BY run_id DESC
LIMIT 100
