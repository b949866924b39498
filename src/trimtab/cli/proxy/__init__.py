"""The CONNECT proxy of `trimtab run`: answers one host itself, tunnels every other untouched."""
