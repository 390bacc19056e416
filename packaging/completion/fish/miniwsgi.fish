# fish completion for miniwsgi: loaded when it is first completed, from fish's vendor_completions.d
_MINIWSGI_COMPLETE=fish_source miniwsgi | source
