"""An application that moves from fastapi-redis-sdk, step by step; every step serves the same.

1. ``step1.py``  the package is exchanged, the code is not
2. ``step2.py``  reads are declared in return types
3. ``step3.py``  writes are, too, and name endpoints instead of key builders
"""
