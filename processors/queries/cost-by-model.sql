-- What each model cost a day, USD, and for how many tokens.
SELECT toDate(started_at) AS day, name AS model, uniqExact(run_id) AS runs, count() AS attempts,
    sum(input_tokens) AS input, sum(output_tokens) AS output, round(sum(cost_usd), 6) AS usd
FROM spans
WHERE kind = 'model_call' AND started_at >= '1970-01-01 00:00:00'
GROUP BY day, model
ORDER BY day DESC, usd DESC, model
