-- The embedded database searches in memory: its vectors need no index.
SELECT 1;
