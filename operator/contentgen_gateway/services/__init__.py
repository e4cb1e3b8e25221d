"""Operations on jobs that pages and API routes share."""
