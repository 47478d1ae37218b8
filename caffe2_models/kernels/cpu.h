// Which instruction sets this machine has, and its operating system keeps the registers of.
#pragma once

namespace int8 {

bool has_avx2();  // with FMA
bool has_avxvnni();
bool has_avx512vnni();  // with F, BW, DQ, VL
bool has_avx512vbmi();

bool has_neon();
bool has_neon_dot();
bool has_neon_i8mm();

}  // namespace int8
