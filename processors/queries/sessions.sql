-- Each session over its runs: how many, what they cost, and when.
SELECT session, count() AS runs, sum(steps) AS model_calls, sum(input_tokens + output_tokens) AS tokens,
    round(sum(cost_usd), 6) AS usd, min(started_at) AS first, max(updated_at) AS last
FROM runs
WHERE session != '' AND started_at >= '1970-01-01 00:00:00'
GROUP BY session
ORDER BY last DESC, session
LIMIT 100
