# fish completion for miniwsgictl: loaded when it is first completed, from fish's vendor_completions.d
miniwsgictl completion fish | source
