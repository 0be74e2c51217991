"""What the panel shows: pure functions from state to text, and one small controller for each section."""
