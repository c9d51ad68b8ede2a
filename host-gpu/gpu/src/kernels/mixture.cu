// Mixtures of images that some rules take for negatives (draws.rs, mix).

// others[i]: the image that image i is mixed with, [images] (at least 2). uniform 0: the next one. One block.
extern "C" __global__ void draw_others(int* others, const feed_t* feed, const control_t* control, int images,
                                       int uniform, int rank, int ranks) {
    if (uniform) {
        u64 number = draw_number(control, rank, ranks);
        draw_list(make_stream(feed->seed, FOR_NEGATIVES, 0, number), others, images, (u64)(images - 1), 1);
    } else {
        for (int image = threadIdx.x; image < images; image += blockDim.x) others[image] = 1;
    }
    __syncthreads();
    for (int image = threadIdx.x; image < images; image += blockDim.x) others[image] = (image + others[image]) % images;
}

// Blurs a line of len values in place with [1, 2, 1] / 4, the edge repeated.
__device__ inline void blur_line(float* line, int stride, int len) {
    float before = line[0];
    for (int i = 0; i < len; i++) {
        float here = line[(size_t)i * stride], after = line[(size_t)min(i + 1, len - 1) * stride];
        line[(size_t)i * stride] = 0.25f * before + 0.5f * here + 0.25f * after;
        before = here;
    }
}

// Masks [images][height * width]: 1 where the image itself shows. values: as many floats of scratch. One block an
// image.
extern "C" __global__ void draw_masks(unsigned char* masks, float* values, const feed_t* feed, const control_t* control,
                                      int height, int width, int rank, int ranks) {
    int area = height * width;
    masks += (size_t)blockIdx.x * area;
    values += (size_t)blockIdx.x * area;
    stream_t stream = make_stream(feed->seed, FOR_MASK, blockIdx.x, draw_number(control, rank, ranks));
    int run = (area + blockDim.x - 1) / blockDim.x;
    int from = min((int)threadIdx.x * run, area), to = min(from + run, area);
    skip(stream, (u64)from);
    for (int i = from; i < to; i++) values[i] = chance(stream, 0.5f) ? 1.0f : 0.0f;
    __syncthreads();
    int times = height / 4 > 1 ? height / 4 : 1;
    for (int time = 0; time < times; time++) {
        for (int y = threadIdx.x; y < height; y += blockDim.x) blur_line(values + (size_t)y * width, 1, width);
        __syncthreads();
        for (int x = threadIdx.x; x < width; x += blockDim.x) blur_line(values + x, width, height);
        __syncthreads();
    }
    for (int i = threadIdx.x; i < area; i += blockDim.x) masks[i] = values[i] > 0.5f;
}

// Rows [2 images] of area x channels: the first half as in views, the second half mixtures with others. masks null:
// means of the first view of the one and the second view of the other; else the second view of the one where its mask
// is 1, of the other where it is 0. views and out are different memory.
extern "C" __global__ void mix(const map_t* views, const int* others, const unsigned char* masks, map_t* out,
                               int images, int area, int channels) {
    size_t len = (size_t)area * channels, half = (size_t)images * len;
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < half; i += (size_t)gridDim.x * blockDim.x) {
        size_t image = i / len, element = i % len;
        size_t other = half + (size_t)others[image] * len + element;
        out[i] = views[i];
        if (masks) {
            out[half + i] = views[masks[image * area + element / channels] ? half + i : other];
        } else {
            store(&out[half + i], 0.5f * (load(&views[i]) + load(&views[other])));
        }
    }
}
