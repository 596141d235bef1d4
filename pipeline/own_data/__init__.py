"""The verb `init`: from a folder of pictures to a manifest and experiments."""
