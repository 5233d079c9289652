// The kernels of csrc/cuda as a table: `_native` does not link them, it gets the table with the device.
#pragma once
#include "cuda/attention.h"
#include "cuda/beam.h"
#include "cuda/coverage.h"
#include "cuda/embed.h"
#include "cuda/epilogue.h"
#include "cuda/forced.h"
#include "cuda/int8.h"
#include "cuda/layer_norm.h"
#include "cuda/project_rows.h"
#include "cuda/sample.h"
#include "cuda/set_aside.h"
#include "cuda/slots.h"
#include "kernels/mix_teachers.h"

namespace distilmt {

struct Kernels {
  DistilmtCudaEmbed* embed;
  DistilmtCudaLayerNorm* layer_norm;
  DistilmtCudaEpilogue* epilogue;
  DistilmtCudaQuantise* quantise;
  DistilmtCudaDequantise* dequantise;
  DistilmtCudaPackedAttention* packed_attention;
  DistilmtCudaTellSentences* tell_sentences;
  DistilmtCudaKeepSource* keep_source;
  DistilmtCudaAdmit* admit;
  DistilmtCudaOwnAttention* own_attention;
  DistilmtCudaSourceAttention* source_attention;
  DistilmtMixTeachersFloat* mix_teachers;
  DistilmtCudaSetAside* set_aside;
  DistilmtCudaProjectRows* project_rows;
  DistilmtCudaCover* cover;
  DistilmtCudaBeam* beam;
  DistilmtCudaForced* forced;
  DistilmtCudaDraw* draw;
  DistilmtCudaSample* sample;
};

}  // namespace distilmt
