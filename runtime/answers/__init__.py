"""What a text answers: its last statement, the value of it, and whether two come to the same."""
