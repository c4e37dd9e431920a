WITH paid AS (
    SELECT user_id, merchant, amount, paid_at,
           lag(paid_at) OVER (PARTITION BY user_id ORDER BY paid_at, payment_id) AS previous,
           count(*) OVER (PARTITION BY user_id, merchant) AS times
    FROM events
    WHERE status = 'paid'
)
SELECT
    user_id,
    median(amount) AS f_median_amount,
    max(date_diff('second', previous, paid_at)) AS f_longest_gap_sec,
    arg_max(merchant, (times, merchant)) AS f_favourite_merchant
FROM paid
GROUP BY user_id
