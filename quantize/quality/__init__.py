"""What a form costs and what it still does: divergence, answers, speed, and which one to take."""
