"""What an environment no longer keeps."""
