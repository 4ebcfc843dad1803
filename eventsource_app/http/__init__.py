"""What any command API on this engine needs: problem details and correlation ids."""
