# Kernels are compiled once per vector level and chosen at run time (engine/kernels/choose.c): one binary for every x86-64.
# Contracting a multiply and an add into one instruction is what these levels are for; it rounds once instead of twice.
set(level_flags -ffp-contract=fast -fno-math-errno -fno-trapping-math)
set(avx2_flags -mavx2 -mfma)
set(avx512_flags ${avx2_flags} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512)

if(STIP_FUZZ) # no parser here, and clang needs an hour for these loops when it instruments them; a source's options come last
  file(GLOB kernels engine/kernels/level.c engine/kernels/product_*.c)
  set_source_files_properties(${kernels} PROPERTIES COMPILE_OPTIONS "-fno-sanitize=all;-fno-sanitize-coverage=trace-pc-guard,inline-8bit-counters,trace-cmp,pc-table,indirect-calls")
endif()

# The thread sanitizer looks at every load of these loops, which makes them all of a program's time: those of one level are enough, on which
# unit/test_matmul runs them in a pool (a source's options come last).
if(STIP_SANITIZE MATCHES "thread")
  file(GLOB kernels engine/kernels/level.c engine/kernels/product_*.c)
  set_source_files_properties(${kernels} PROPERTIES COMPILE_OPTIONS
    "$<$<NOT:$<STREQUAL:$<TARGET_PROPERTY:NAME>,stip_kernel_portable>>:-fno-sanitize=thread;-O2>")
endif()

# stip_kernel(name source flags...)
function(stip_kernel name source)
  add_library(stip_kernel_${name} OBJECT engine/kernels/${source})
  target_compile_options(stip_kernel_${name} PRIVATE ${level_flags} ${ARGN})
  target_compile_definitions(stip_kernel_${name} PRIVATE STIP_LEVEL=${name})
  target_link_libraries(stip_kernel_${name} PRIVATE stip_flags)
  target_sources(stip_engine PRIVATE $<TARGET_OBJECTS:stip_kernel_${name}>)
endfunction()

stip_kernel(portable level.c)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  stip_kernel(avx2 level.c ${avx2_flags})
  stip_kernel(avx512 level.c ${avx512_flags})
  stip_kernel(bf16dot product_bf16dot.c ${avx512_flags} -mavx512bf16)
  stip_kernel(vnni product_vnni.c ${avx512_flags} -mavx512vnni)
  stip_kernel(amx product_amx.c ${avx512_flags} -mamx-tile -mamx-bf16 -mamx-int8)
endif()

# The tile kernels with emulated tiles, for tests on machines without a tile unit.
stip_kernel(emulated product_amx.c)
target_compile_definitions(stip_kernel_emulated PRIVATE STIP_TILES_EMULATED)
