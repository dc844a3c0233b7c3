"""The jobs that schedulers and Dataflow launch; each is a thin call of the same functions as the command line."""
