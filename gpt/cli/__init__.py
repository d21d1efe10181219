"""Arguments, exit codes and output of every command."""
