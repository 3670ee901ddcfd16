// What manifest.json, written by `python -m sr_keras.export`, tells of a network.

import Foundation

struct Manifest: Decodable {
    struct Artifact: Decodable {
        let file: String
        let bytes: Int
    }

    let scale: Int
    let channels: Int
    let halo: Int?
    let alignment: Int?
    let artifacts: [Artifact]

    var reach: Reach {
        Reach(halo: halo, alignment: alignment ?? 1)
    }

    /// Reads the manifest in the folder of `model`. Throws `Fault` if it is of another export, or not for RGB.
    init(beside model: URL) throws {
        let place = model.deletingLastPathComponent().appendingPathComponent("manifest.json")
        guard let content = try? Data(contentsOf: place) else {
            throw Fault("The app lacks manifest.json; add it to the target from the model's export.")
        }
        do {
            self = try JSONDecoder().decode(Manifest.self, from: content)
        } catch {
            throw Fault("manifest.json is broken; copy it anew from the model's export.")
        }
        try refuseForeign(model)
    }

    private func refuseForeign(_ model: URL) throws {
        let name = model.lastPathComponent
        guard let artifact = artifacts.first(where: { $0.file == name }) else {
            throw Fault("manifest.json does not name \(name); copy both from one export.")
        }
        let bytes = (try? model.resourceValues(forKeys: [.fileSizeKey]))?.fileSize
        guard bytes == artifact.bytes else {
            throw Fault("\(name) is not as long as manifest.json tells; copy both anew from one export.")
        }
        guard channels == 3 else {
            throw Fault("\(name) works on the luminance alone; use an RGB network.")
        }
    }
}
