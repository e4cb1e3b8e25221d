"""Operations behind the pages and the API.

Each service receives only the stores and clients it needs, returns values or schema models, and raises Problem. No
module here knows HTTP requests, routes or pages.
"""
