-- How much of each model's input came from the provider's cache.
SELECT name AS model, sum(input_tokens) AS input, sum(cached_tokens) AS cached,
    round(100 * sum(cached_tokens) / greatest(sum(input_tokens), 1), 1) AS percent
FROM spans
WHERE kind = 'model_call' AND started_at >= '1970-01-01 00:00:00'
GROUP BY model
ORDER BY input DESC, model
