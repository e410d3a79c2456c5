from .client import Redis as Redis
from .cluster import RedisCluster as RedisCluster
from .connection import Connection as Connection
from .connection import ConnectionPool as ConnectionPool
