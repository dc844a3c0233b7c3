"""Measurements that need more than the package: other people's libraries, hours, data that is not shipped."""
