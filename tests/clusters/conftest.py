"""An S3 service serves the tests of a workspace in a bucket."""

from support.s3 import s3_address, s3_client, s3_server, s3_service  # noqa: F401
