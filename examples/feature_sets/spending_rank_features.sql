WITH spent AS (
    SELECT user_id, sum(amount) AS f_spent_28d
    FROM events
    WHERE status = 'paid'
    GROUP BY user_id
)
SELECT
    user_id,
    f_last_country AS f_country,
    f_spent_28d,
    percent_rank() OVER (PARTITION BY f_last_country ORDER BY f_spent_28d) AS f_rank_in_country
FROM spent
LEFT JOIN user_features USING (user_id)
