"""What people look at and talk to."""
