"""What lies in files of weights: told from their headers, without torch, before a byte of a tensor is read."""
