"""Time and memory against size, and what they say of sizes far beyond."""
