"""What comes after a model's answer, by the way an agent works: one file each, pure."""
