"""What runs the code of applications."""
