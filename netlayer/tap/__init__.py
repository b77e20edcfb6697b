"""The two ``twistd`` commands: their options, and the services that they make."""
