"""What `trimtab audit` shows, and how it has a finding mended."""
