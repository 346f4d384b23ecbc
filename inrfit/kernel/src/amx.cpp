// AMX with bfloat16 products; AVX512 for the rest.
#define FLOAT32 0
#define BFLOAT16 1
#define TILES 2
#define PRODUCTS TILES
#define VECTOR_BYTES 64
#define ROWS 14
#define VECTORS 2
#define BLOCK 256
#include "perceptron.inc"

INRFIT_KERNEL(amx)
