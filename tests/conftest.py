"""For all tests."""

import recbatch.model  # noqa: F401  # chooses Keras 2; has to come before the first `import tensorflow` of any test module
