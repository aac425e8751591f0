-- How much of each model's output was reasoning.
SELECT name AS model, sum(output_tokens) AS output, sum(reasoning_tokens) AS reasoning,
    round(100 * sum(reasoning_tokens) / greatest(sum(output_tokens), 1), 1) AS percent
FROM spans
WHERE kind = 'model_call' AND started_at >= '1970-01-01 00:00:00'
GROUP BY model
ORDER BY output DESC, model
