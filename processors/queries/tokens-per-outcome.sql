-- What a run uses up, by how it ended: steps, tokens, cost, time.
SELECT status, count() AS runs, round(avg(steps), 1) AS model_calls, round(avg(tool_calls), 1) AS tools,
    round(avg(input_tokens)) AS input, round(avg(output_tokens)) AS output,
    round(avg(cost_usd), 6) AS usd, round(median(duration_ms)) AS median_ms
FROM runs
WHERE started_at >= '1970-01-01 00:00:00'
GROUP BY status
ORDER BY runs DESC, status
