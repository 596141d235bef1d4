"""What people read: tables, pages, and the lines of a running grid."""
