"""What a request costs, next to the same endpoint without a cache and to other libraries."""
