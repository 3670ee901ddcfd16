// Between picture files and pixels: upright, opaque, sRGB.

import CoreGraphics
import Photos
import UIKit

/// What a phone holds beside LR, at 4 bytes a pixel for each of the copies that showing and saving make.
private let mostPixels = 24_000_000

private let colors = CGColorSpace(name: CGColorSpace.sRGB)!
private let layout = CGBitmapInfo(rawValue: CGImageAlphaInfo.noneSkipLast.rawValue)

extension Picture {
    /// Decodes a file's content, white where it is transparent. Throws `Fault`.
    init(data: Data, scale: Int) throws {
        guard let image = UIImage(data: data) else {
            throw Fault("This file is no picture that iOS can read; pick another one.")
        }
        // `size` is upright and in points; times the image's own scale it is pixels.
        let width = Int((image.size.width * image.scale).rounded())
        let height = Int((image.size.height * image.scale).rounded())
        guard width > 0, height > 0, width * height * scale * scale <= mostPixels else {
            let most = Double(mostPixels / (scale * scale)) / 1e6
            throw Fault(
                String(
                    format: "A picture may have %.1f megapixels at ×%ld, this has %.1f; crop or shrink it first.",
                    most, scale, Double(width * height) / 1e6))
        }
        self.init(width: width, height: height)
        try draw { context in
            let area = CGRect(x: 0, y: 0, width: width, height: height)
            context.setFillColor(gray: 1, alpha: 1)
            context.fill(area)
            // UIKit draws downwards and turns by the camera's orientation; Core Graphics counts upwards.
            UIGraphicsPushContext(context)
            context.translateBy(x: 0, y: CGFloat(height))
            context.scaleBy(x: 1, y: -1)
            image.draw(in: area)
            UIGraphicsPopContext()
        }
    }

    /// Makes an image of the pixels. Throws `Fault` if the memory does not hold it.
    func image() throws -> CGImage {
        guard let provider = CGDataProvider(data: Data(rgbx) as CFData),
            let image = CGImage(
                width: width, height: height, bitsPerComponent: 8, bitsPerPixel: 32, bytesPerRow: 4 * width,
                space: colors, bitmapInfo: layout, provider: provider, decode: nil, shouldInterpolate: true,
                intent: .defaultIntent)
        else {
            throw Fault("The memory does not hold this picture; pick a smaller one.")
        }
        return image
    }

    private mutating func draw(_ paint: (CGContext) -> Void) throws {
        let (width, height) = (self.width, self.height)
        let isDrawn = rgbx.withUnsafeMutableBytes { memory -> Bool in
            guard
                let context = CGContext(
                    data: memory.baseAddress, width: width, height: height, bitsPerComponent: 8,
                    bytesPerRow: 4 * width, space: colors, bitmapInfo: layout.rawValue)
            else { return false }
            paint(context)
            return true
        }
        guard isDrawn else {
            throw Fault("The memory does not hold this picture; pick a smaller one.")
        }
    }
}

/// Adds `image` to the photo library as a PNG. Throws `Fault`.
func addToLibrary(_ image: CGImage) async throws {
    guard let content = UIImage(cgImage: image).pngData() else {
        throw Fault("The picture can't be written as PNG; the memory may be full.")
    }
    guard await PHPhotoLibrary.requestAuthorization(for: .addOnly) == .authorized else {
        throw Fault("The photo library may not be added to; allow it for this app in Settings.")
    }
    do {
        try await PHPhotoLibrary.shared().performChanges {
            PHAssetCreationRequest.forAsset().addResource(with: .photo, data: content, options: nil)
        }
    } catch {
        throw Fault("The picture can't be saved (\(error.localizedDescription)).")
    }
}
