"""Models of other toolkits: `peers` converts them, `hub` downloads them by name."""
