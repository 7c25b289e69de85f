"""The contexts of copilot_chat, in every generation that is found on disks."""
