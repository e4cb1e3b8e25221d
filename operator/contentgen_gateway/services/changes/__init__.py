"""Creation, change and deletion of jobs, for pages and API routes."""
