// Every kernel, as one unit for the compiler.
#include "program.cu"
#include "gemm.cu"
#include "decode.cu"
#include "attention.cu"
#include "dora.cu"
#include "loss.cu"
#include "adamw.cu"
